# Pages that people see instead of a redirect.

not-found-title = There is no such short link
not-found-text = Check that the URL is complete. Upper and lower case letters differ.

disabled-title = This short link is switched off
disabled-text = Its owner has disabled it. Ask them whether it will work again.

expired-title = This short link has expired
expired-text = It worked until a date that its owner has set. Ask them for a new one.

exhausted-title = This short link is used up
exhausted-text = Its owner has limited how often it can be followed, and that limit is reached.

prefetch-title = This short link cannot be loaded in advance
prefetch-text = Its owner has limited how often it can be followed. Open it to follow it.

people-title = Open this short link in a browser
people-text = Its owner has limited how often it can be followed, so it shows its destination to people only.
