//! A content-addressed block store with UnixFS files and CAR archives.
