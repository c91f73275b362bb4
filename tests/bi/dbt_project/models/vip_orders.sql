SELECT shop_order.*
FROM {{ source('shop', 'shop_order') }} AS shop_order
JOIN {{ source('segments', 'vip') }} AS vip USING (user_id)
