"""Recommenders: popularity, SASRec, TIGER."""
