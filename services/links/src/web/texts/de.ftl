not-found-title = Diesen Kurzlink gibt es nicht
not-found-text = Bitte prüfen, ob die Adresse vollständig ist. Groß- und Kleinbuchstaben sind verschieden.

disabled-title = Dieser Kurzlink ist abgeschaltet
disabled-text = Wer ihn angelegt hat, hat ihn deaktiviert und kann sagen, ob er wieder funktionieren wird.

expired-title = Dieser Kurzlink ist abgelaufen
expired-text = Er war nur bis zu einem festgelegten Zeitpunkt gültig. Wer ihn angelegt hat, kann einen neuen schicken.

exhausted-title = Dieser Kurzlink ist aufgebraucht
exhausted-text = Er durfte nur begrenzt oft aufgerufen werden, und diese Grenze ist erreicht.

prefetch-title = Dieser Kurzlink lässt sich nicht im Voraus laden
prefetch-text = Er darf nur begrenzt oft aufgerufen werden. Zum Aufrufen bitte öffnen.

people-title = Bitte diesen Kurzlink im Browser öffnen
people-text = Er darf nur begrenzt oft aufgerufen werden und zeigt sein Ziel deshalb nur Menschen.
