//! prefetch and huge-page slabs.
