"""What every platform must do, whether it is a process or a chip."""
