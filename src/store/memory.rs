//! Objects in memory: a true implementation, for tests and for `storage: inmemory`.
