"""What the messages of the contract say, and how they are built."""
