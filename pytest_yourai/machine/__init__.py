"""The machine it runs on: memory, containers, processes, versions; the budget and the guard."""
