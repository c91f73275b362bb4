SELECT membership.slug, sum(shop_order.amount) AS revenue
FROM {{ source('shop', 'shop_order') }} AS shop_order
JOIN {{ source('segments', 'membership') }} AS membership USING (user_id)
GROUP BY membership.slug
