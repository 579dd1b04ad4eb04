"""Write many chains: jobs, engines, folders, batch files."""
