"""Songs taken apart: transforms, masks, and how good the parts are."""
