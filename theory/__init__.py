"""Theory of structured against collapsed representations; arrays only, independent of scoter."""
