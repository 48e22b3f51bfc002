"""Plots of a model's forecasts."""
