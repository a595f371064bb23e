"""Workers that train together: started by mlx.launch, each answering to one controller."""
