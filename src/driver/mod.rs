//! One file for each thing outside: what turns it into events, and carries actions out.
