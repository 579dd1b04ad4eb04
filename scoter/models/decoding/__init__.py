"""From a trained model to ranked items: beam search, exact scores, votes."""
