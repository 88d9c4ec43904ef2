"""What messages of the contract say, and how they are built."""
