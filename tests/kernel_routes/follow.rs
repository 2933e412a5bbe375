//! Following: whatever happens to the kernel's tables reaches the reader.
