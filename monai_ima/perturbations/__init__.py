"""What ε measures."""
