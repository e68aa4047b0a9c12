// Fills the shop, as the starter's own seed does, and writes into FILLED what it
// holds: `medusa exec seed.js`
const { writeFile } = require('node:fs/promises')
const { ContainerRegistrationKeys, Modules, ProductStatus } = require('@medusajs/framework/utils')
const flows = require('@medusajs/medusa/core-flows')

exports.default = async function seed({ container }) {
  const products = Number(process.env.PRODUCTS ?? 1000)
  const link = container.resolve(ContainerRegistrationKeys.LINK)
  const run = async (flow, input) => (await flow(container).run({ input })).result

  const [store] = await container.resolve(Modules.STORE).listStores()
  const [channel] = await run(flows.createSalesChannelsWorkflow, { salesChannelsData: [{ name: 'Shop' }] })
  await run(flows.updateStoresWorkflow, {
    selector: { id: store.id },
    update: {
      supported_currencies: [{ currency_code: 'eur', is_default: true }],
      default_sales_channel_id: channel.id,
    },
  })
  const [region] = await run(flows.createRegionsWorkflow, {
    regions: [{ name: 'Europe', currency_code: 'eur', countries: ['de'], payment_providers: ['pp_system_default'] }],
  })
  await run(flows.createTaxRegionsWorkflow, [{ country_code: 'de', provider_id: 'tp_system' }])

  const [location] = await run(flows.createStockLocationsWorkflow, {
    locations: [{ name: 'Warehouse', address: { city: 'Hamburg', country_code: 'DE', address_1: '' } }],
  })
  await link.create({
    [Modules.STOCK_LOCATION]: { stock_location_id: location.id },
    [Modules.FULFILLMENT]: { fulfillment_provider_id: 'manual_manual' },
  })
  const fulfillment = container.resolve(Modules.FULFILLMENT)
  const profile =
    (await fulfillment.listShippingProfiles({ type: 'default' }))[0] ??
    (await run(flows.createShippingProfilesWorkflow, { data: [{ name: 'Default', type: 'default' }] }))[0]
  const set = await fulfillment.createFulfillmentSets({
    name: 'Delivery',
    type: 'shipping',
    service_zones: [{ name: 'Europe', geo_zones: [{ country_code: 'de', type: 'country' }] }],
  })
  await link.create({
    [Modules.STOCK_LOCATION]: { stock_location_id: location.id },
    [Modules.FULFILLMENT]: { fulfillment_set_id: set.id },
  })
  const [shipping] = await run(flows.createShippingOptionsWorkflow, [{
    name: 'Standard Shipping',
    price_type: 'flat',
    provider_id: 'manual_manual',
    service_zone_id: set.service_zones[0].id,
    shipping_profile_id: profile.id,
    type: { label: 'Standard', description: 'In two or three days', code: 'standard' },
    prices: [{ currency_code: 'eur', amount: 5 }, { region_id: region.id, amount: 5 }],
    rules: [
      { attribute: 'enabled_in_store', value: 'true', operator: 'eq' },
      { attribute: 'is_return', value: 'false', operator: 'eq' },
    ],
  }])
  await run(flows.linkSalesChannelsToStockLocationWorkflow, { id: location.id, add: [channel.id] })
  const [key] = await run(flows.createApiKeysWorkflow, {
    api_keys: [{ title: 'Shop', type: 'publishable', created_by: '' }],
  })
  await run(flows.linkSalesChannelsToApiKeyWorkflow, { id: key.id, add: [channel.id] })

  const product = n => ({
    title: `bench-${n}`,
    handle: `bench-${n}`,
    status: ProductStatus.PUBLISHED,
    shipping_profile_id: profile.id,
    options: [{ title: 'Kind', values: ['Only'] }],
    variants: [{
      title: 'Only', sku: `bench-${n}`, options: { Kind: 'Only' }, prices: [{ amount: 12, currency_code: 'eur' }],
    }],
    sales_channels: [{ id: channel.id }],
  })
  const variants = []
  for (let first = 0; first < products; first += 100) {
    const some = Array.from({ length: Math.min(100, products - first) }, (_, n) => product(first + n))
    const made = await run(flows.createProductsWorkflow, { products: some })
    variants.push(...made.map(product => product.variants[0].id))
  }
  const items = await container.resolve(Modules.INVENTORY).listInventoryItems({}, { select: ['id'], take: products })
  await run(flows.createInventoryLevelsWorkflow, {
    inventory_levels: items.map(item => ({
      inventory_item_id: item.id, location_id: location.id, stocked_quantity: 10_000_000,
    })),
  })
  await writeFile(process.env.FILLED ?? 'filled.json', JSON.stringify({ variants, key: key.token, region: region.id, shipping: shipping.id }))
}
