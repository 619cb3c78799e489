"""Quality: how right each rule was, by what is known of the payments that it hit."""
