"""What ``tf.lite.experimental`` offers."""

from .interpreter import OpResolverType, load_delegate

__all__ = ["OpResolverType", "load_delegate"]
