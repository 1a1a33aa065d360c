"""A fuzzer that knows the structure of each format, and a naive reader of each, which it compares with maskcli."""
