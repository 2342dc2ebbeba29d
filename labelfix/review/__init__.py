"""The local web app in which a person goes through the queue: what it shows, and to whom."""
