"""What is kept: score files, the ledger of training runs, and the two joined."""
