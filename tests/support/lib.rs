//! What the tests share: service folders, running the command line, seeds.
