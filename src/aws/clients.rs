//! From the command line and the SDK's own environment to clients.
