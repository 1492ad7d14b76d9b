//! Fixed-point requantization, as LiteRT's reference kernels do it.
