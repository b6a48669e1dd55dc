"""Save the networks that Keras ships: `python -m tests.gate.applications FOLDER`."""

import sys
from pathlib import Path

import keras

# without their last layers where these are most of the file
NAMES = {
    **dict.fromkeys(("VGG16", "VGG19"), False),
    **dict.fromkeys(
        (
            *("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large"),
            *("EfficientNetB0", "EfficientNetB3", "EfficientNetV2B0", "EfficientNetV2S"),
            *("DenseNet121", "DenseNet201", "NASNetMobile", "InceptionV3", "Xception"),
            *("ResNet50", "ResNet101V2", "InceptionResNetV2", "ConvNeXtTiny"),
        ),
        True,
    ),
}


def main(folder: Path) -> None:
    """Save every network, one in memory at a time."""
    for name, has_top in NAMES.items():
        model = getattr(keras.applications, name)(weights=None, include_top=has_top)
        model.save(folder / f"{name}.keras")
        del model
        keras.backend.clear_session()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
