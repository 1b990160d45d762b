"""Files: trained policies with their cards, written whole or not at all."""
