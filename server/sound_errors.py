"""Refusals of sounds and feature rows: branches of the tree in `server.errors`."""

from server.errors import ServerError, UnusableInput


class UnreadableSound(ServerError):
    """The bytes are no sound of a format that the server reads."""

    status, slug, title = 415, "unreadable-sound", "The sound could not be decoded"


class EmptySound(UnreadableSound):
    """No bytes, or a sound file with no samples."""

    slug, title = "empty-sound", "The sound is empty"


class LfsPointer(UnreadableSound):
    """A Git LFS pointer in place of the file that it points to."""

    slug, title = "git-lfs-pointer", "This is a Git LFS pointer, not the file"


class TruncatedSound(UnreadableSound):
    """The file holds less sound than its header declares."""

    slug, title = "truncated-sound", "The sound file is cut short"


class WrongExtension(UnreadableSound):
    """The content is a sound, but not of the format that `ext` names."""

    slug, title = "wrong-extension", "The sound is not of the format that was named"


class BadSampleRate(UnreadableSound):
    """The sample rate is outside 8 to 192 kHz."""

    slug, title = "bad-sample-rate", "The sample rate is out of range"


class TooManyChannels(UnreadableSound):
    """More than 8 channels."""

    slug, title = "too-many-channels", "The sound has too many channels"


class SoundTooShort(UnusableInput):
    """Fewer samples than the task or its frontend needs."""

    slug, title = "sound-too-short", "The sound is too short"


class SoundTooLong(UnusableInput):
    """More sound than the server decodes for one call."""

    slug, title = "sound-too-long", "The sound is too long"


class SoundNotFinite(UnusableInput):
    """The sound holds NaN or infinite samples."""

    slug, title = "sound-not-finite", "The sound holds samples that are no numbers"


class BadFeatureRow(UnusableInput):
    """The CSV is not exactly one row of the model's features."""

    slug, title = "bad-feature-row", "The feature row does not fit the model"
