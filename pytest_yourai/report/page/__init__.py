"""The results as one HTML file: data in Python, drawn by the scripts beside."""
