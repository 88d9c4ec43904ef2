"""AI Gas System: prices, budgets, holds and receipts."""
