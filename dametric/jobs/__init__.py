"""Who does the work: this process, processes side by side, a Ray cluster; in which order, and until when."""
