"""Features and spectrograms of a labelled folder, for training: by the very decoders that serve."""
