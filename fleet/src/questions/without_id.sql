-- Requests of devices that do not send their ids.
SELECT coalesce(sum(requests), 0) AS requests FROM anonymous
