"""Tables from committed results, and the documents that show them."""
