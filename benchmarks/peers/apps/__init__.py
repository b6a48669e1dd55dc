"""The peers' applications, as short as their own guides would write them."""
