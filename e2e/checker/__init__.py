"""What every fault test is judged by: a history of what was sent, what was found afterwards, and the verdict."""
