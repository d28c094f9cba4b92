"""Figures: plain shapes, and matplotlib that draws them."""
