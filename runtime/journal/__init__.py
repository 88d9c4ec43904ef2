"""What the runtime keeps: runs, their journals, and what others want of them."""
