//! The public edge: a readable list of layers
