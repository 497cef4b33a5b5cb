//! Reads facts: identity, AMIs, the default VPC, subnets, instance types; local keys and files beside them.
