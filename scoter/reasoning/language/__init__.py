"""Language models: requests, servers, replies, and what calls cost."""
