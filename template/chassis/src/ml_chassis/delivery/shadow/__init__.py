"""A model that is asked what stable is asked, and answers nobody."""
