#!/bin/sh
# Buys something in a shop, as a customer would, and prints the order. Fails unless it is confirmed and the stock is
# less by one. For any shop with sample data:
#
#   sh deploy/test/buy.sh https://shop.example.com [SKU]
set -eu
shop=$1 sku=${2:-mug-blue}
key=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')

call() {
    curl --silent --show-error --fail-with-body --max-time 40 --header 'content-type: application/json' "$@"
}

# field NAME: of the JSON object on standard input, the first text or number of this name
field() {
    sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p" | head -1
}

stock() {
    call "$shop/stock/$sku" | field available
}

customer="{\"email\":\"$key@example.com\",\"password\":\"correct horse $key\""
call "$shop/users" --data "$customer,\"name\":\"Ada\"}" >/dev/null
token=$(call "$shop/login" --data "$customer}" | field access_token)
before=$(stock)
order=$(call "$shop/orders" --header "authorization: Bearer $token" --header "idempotency-key: $key" \
    --data "{\"lines\":[{\"sku\":\"$sku\",\"quantity\":1}],\"payment\":{\"token\":\"tok_success\"},\"address\":{\"name\":\"Ada\",\"line1\":\"1 Quay\",\"city\":\"Haifa\",\"postal_code\":\"31000\",\"country\":\"IL\"}}" | field id)
for _ in $(seq 60); do
    state=$(call "$shop/orders/$order" --header "authorization: Bearer $token" | field state)
    [ "$state" = confirmed ] && break
    sleep 1
done
[ "$state" = confirmed ] || { echo "order $order is $state" >&2; exit 1; }
[ "$(stock)" = $((before - 1)) ] || { echo "the stock of $sku was $before and is $(stock)" >&2; exit 1; }
echo "$order"
