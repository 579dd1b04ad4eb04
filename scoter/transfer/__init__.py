"""How a chain reaches a recommender: kept as steps, or collapsed."""
