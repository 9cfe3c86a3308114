//! Bakes machine images, packs artifacts, and keeps both by digest.
