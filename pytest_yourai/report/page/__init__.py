"""Results as one HTML file: data from Python, drawn by the scripts in this folder."""
