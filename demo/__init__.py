"""What the web application and the notebooks share: pictures of results, and example photos."""
