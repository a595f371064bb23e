"""Runs the plan: trial by trial, soak by soak, resumably."""
