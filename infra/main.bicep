// Everything the app needs, in a resource group of its own. The one identity of the app opens storage, Service Bus, Redis,
// the registry and Application Insights, so that no setting is a key or a password.
targetScope = 'subscription'

@minLength(1)
@maxLength(64)
@description('Name of the azd environment; names of the resources follow from it.')
param environmentName string

@allowed([
  'australiaeast'
  'australiasoutheast'
  'brazilsouth'
  'canadacentral'
  'centralindia'
  'centralus'
  'eastasia'
  'eastus'
  'eastus2'
  'francecentral'
  'germanywestcentral'
  'italynorth'
  'japaneast'
  'koreacentral'
  'northcentralus'
  'northeurope'
  'norwayeast'
  'southafricanorth'
  'southcentralus'
  'southeastasia'
  'southindia'
  'spaincentral'
  'swedencentral'
  'uaenorth'
  'uksouth'
  'ukwest'
  'westcentralus'
  'westeurope'
  'westus'
  'westus2'
  'westus3'
])
@metadata({ azd: { type: 'location' } })
@description('Region of everything: one that has Flex Consumption (az functionapp list-flexconsumption-locations).')
param location string

@allowed(['zip', 'container', 'containerapp'])
@description('zip: Flex Consumption, which scales to zero. container: an image on a Dedicated or Premium plan. containerapp: an image on Container Apps.')
param hosting string = 'zip'

@allowed([512, 2048, 4096])
@description('Hosting "zip": memory of one instance in MB.')
param instanceMemoryMB int = 2048

@minValue(1)
@maxValue(1000)
@description('Hosting "zip": the most instances there may be.')
param maximumInstanceCount int = 100

@minValue(0)
@maxValue(1000)
@description('Hosting "zip": HTTP requests that one instance takes at once before there is another. 0: by its memory.')
param perInstanceConcurrency int = 0

@minValue(0)
@maxValue(1000)
@description('Hosting "zip": instances that always run, for HTTP. 0: the app scales to zero.')
param alwaysReady int = 0

@allowed(['B1', 'B2', 'B3', 'P0v3', 'P1v3', 'P2v3', 'P0v4', 'P1v4', 'P2v4', 'EP1', 'EP2', 'EP3'])
@description('Hosting "container": size of the plan.')
param planSku string = 'B1'

@description('Hosting "container" and "containerapp": the image, with its registry and digest. Empty: one of Microsoft\'s, until yours is deployed.')
param image string = ''

@description('Hosting "containerapp": cores of a replica.')
param cpu string = '1.0'

@description('Hosting "containerapp": memory of a replica, twice the cores.')
param memory string = '2Gi'

@minValue(0)
@description('Hosting "containerapp": the fewest replicas.')
param minReplicas int = 0

@minValue(1)
@maxValue(1000)
@description('Hosting "containerapp": the most replicas.')
param maxReplicas int = 10

@description('A virtual network for the app; storage, Service Bus and Redis then have private endpoints only.')
param vnetEnabled bool = false

@description('Size of the Azure Managed Redis cache.')
param redisSku string = 'Balanced_B0'

@allowed(['OSSCluster', 'EnterpriseCluster', 'NoCluster'])
@description('How clients see the shards. Changing it later makes a new, empty database.')
param redisClusteringPolicy string = 'EnterpriseCluster'

@description('A replica of the cache, at double the price. Without one, maintenance may empty the cache.')
param redisHighAvailability bool = false

@description('Whether the container incoming-large takes blobs of any length.')
param largeBlobs bool = false

@description('Object id of a person, or of the identity of a pipeline, that may read and write data as well; azd gives yours. Empty: only the app may.')
param principalId string = ''

@allowed(['User', 'ServicePrincipal', 'Group'])
@description('What principalId is.')
param principalType string = 'User'

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = { 'azd-env-name': environmentName }
var queues = {
  requests: 'score'
  results: 'score-results'
  rejected: 'score-rejected'
  largeBlobs: 'score-large-blobs'
}

// The defaults of Azure (16 requests for 2,048 MB) suit handlers that need 100 ms and more. Through the host this one
// answers about 2,000 requests/s with one core (2,048 MB); a request that takes 30 ms on its way through Azure makes that
// 60 at once. More than 64, maxConcurrentRequests of host.json, would wait in the host.
var concurrency = perInstanceConcurrency > 0 ? perInstanceConcurrency : min(instanceMemoryMB / 32, 64)

var busZones = {
  AzureCloud: 'privatelink.servicebus.windows.net'
  AzureUSGovernment: 'privatelink.servicebus.usgovcloudapi.net'
  AzureChinaCloud: 'privatelink.servicebus.chinacloudapi.cn'
}
var privateServices = [
  { service: 'blob', zone: 'privatelink.blob.${environment().suffixes.storage}' }
  { service: 'queue', zone: 'privatelink.queue.${environment().suffixes.storage}' }
  { service: 'table', zone: 'privatelink.table.${environment().suffixes.storage}' }
  { service: 'namespace', zone: busZones[?environment().name] ?? busZones.AzureCloud }
  { service: 'redisEnterprise', zone: 'privatelink.redis.azure.net' }
]
var usesImage = hosting != 'zip'

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module identity 'app/identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    name: 'id-${token}'
    location: location
    tags: tags
  }
}

module monitoring 'app/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    workspaceName: 'log-${token}'
    insightsName: 'appi-${token}'
    location: location
    tags: tags
  }
}

module network 'app/network.bicep' = if (vnetEnabled) {
  name: 'network'
  scope: group
  params: {
    name: 'vnet-${token}'
    location: location
    tags: tags
    delegation: hosting == 'container' ? 'Microsoft.Web/serverFarms' : 'Microsoft.App/environments'
    zoneNames: map(privateServices, private => private.zone)
  }
}

module endpoints 'app/endpoint.bicep' = [
  for private in privateServices: if (vnetEnabled) {
    name: 'endpoint-${private.service}'
    scope: group
    params: {
      name: 'pe-${private.service}-${token}'
      location: location
      tags: tags
      subnetId: network!.outputs.endpointSubnetId
      targetId: private.service == 'namespace'
        ? messaging.outputs.id
        : private.service == 'redisEnterprise' ? redis.outputs.id : storage.outputs.id
      service: private.service
      zoneName: private.zone
    }
  }
]

module storage 'app/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    public: !vnetEnabled
    takesEvents: largeBlobs
    name: 'st${token}'
    location: location
    tags: tags
  }
}

module blobsOfAnyLength 'app/large-blobs.bicep' = if (largeBlobs) {
  name: 'large-blobs'
  scope: group
  params: {
    storageName: storage.outputs.name
    systemTopicName: storage.outputs.systemTopicName
    queueName: queues.largeBlobs
  }
}

module messaging 'app/messaging.bicep' = {
  name: 'messaging'
  scope: group
  params: {
    public: !vnetEnabled
    name: 'sb-${token}'
    location: location
    tags: tags
    queueNames: [queues.requests, queues.results, queues.rejected]
  }
}

module redis 'app/redis.bicep' = {
  name: 'redis'
  scope: group
  params: {
    public: !vnetEnabled
    name: 'redis-${token}'
    location: location
    tags: tags
    sku: redisSku
    clusteringPolicy: redisClusteringPolicy
    highAvailability: redisHighAvailability
    principalIds: empty(principalId) ? [identity.outputs.principalId] : [identity.outputs.principalId, principalId]
  }
}

module registry 'app/registry.bicep' = if (usesImage) {
  name: 'registry'
  scope: group
  params: {
    name: 'cr${token}'
    location: location
    tags: tags
  }
}

module vault 'app/key-vault.bicep' = if (hosting == 'containerapp') {
  name: 'vault'
  scope: group
  params: {
    name: 'kv-${token}'
    location: location
    tags: tags
  }
}

module appRoles 'app/roles.bicep' = {
  name: 'roles-app'
  scope: group
  params: {
    principalId: identity.outputs.principalId
    principalType: 'ServicePrincipal'
    forApp: true
    storageName: storage.outputs.name
    serviceBusName: messaging.outputs.name
    insightsName: monitoring.outputs.insightsName
    registryName: usesImage ? registry!.outputs.name : ''
    vaultName: hosting == 'containerapp' ? vault!.outputs.name : ''
  }
}

module developerRoles 'app/roles.bicep' = if (!empty(principalId)) {
  name: 'roles-developer'
  scope: group
  params: {
    principalId: principalId
    principalType: principalType
    forApp: false
    storageName: storage.outputs.name
    serviceBusName: messaging.outputs.name
    insightsName: monitoring.outputs.insightsName
    vaultName: hosting == 'containerapp' ? vault!.outputs.name : ''
  }
}

module settings 'app/settings.bicep' = {
  name: 'settings'
  scope: group
  params: {
    clientId: identity.outputs.clientId
    storageEndpoints: storage.outputs.endpoints
    serviceBusHost: messaging.outputs.host
    queues: queues
    redisHost: redis.outputs.host
    insightsConnectionString: monitoring.outputs.connectionString
    largeBlobs: largeBlobs
  }
}

module zipApp 'app/function-zip.bicep' = if (hosting == 'zip') {
  name: 'function-zip'
  scope: group
  params: {
    name: 'func-${token}'
    planName: 'plan-${token}'
    location: location
    tags: tags
    identityId: identity.outputs.id
    packages: storage.outputs.packages
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    perInstanceConcurrency: concurrency
    alwaysReady: alwaysReady
    subnetId: vnetEnabled ? network!.outputs.appSubnetId : ''
    settings: settings.outputs.settings
  }
  dependsOn: [appRoles, endpoints]
}

module containerApp 'app/function-container.bicep' = if (hosting == 'container') {
  name: 'function-container'
  scope: group
  params: {
    name: 'func-${token}'
    planName: 'plan-${token}'
    location: location
    tags: tags
    identityId: identity.outputs.id
    clientId: identity.outputs.clientId
    sku: planSku
    image: image
    subnetId: vnetEnabled ? network!.outputs.appSubnetId : ''
    settings: settings.outputs.settings
  }
  dependsOn: [appRoles, endpoints]
}

module containerApps 'app/container-app.bicep' = if (hosting == 'containerapp') {
  name: 'container-app'
  scope: group
  params: {
    name: 'ca-${token}'
    environmentName: 'cae-${token}'
    location: location
    tags: tags
    identityId: identity.outputs.id
    clientId: identity.outputs.clientId
    registryServer: usesImage ? registry!.outputs.loginServer : ''
    image: image
    cpu: cpu
    memory: memory
    minReplicas: minReplicas
    maxReplicas: maxReplicas
    subnetId: vnetEnabled ? network!.outputs.appSubnetId : ''
    vaultUri: hosting == 'containerapp' ? vault!.outputs.uri : ''
    settings: settings.outputs.settings
  }
  dependsOn: [appRoles, endpoints]
}

output AZURE_LOCATION string = location
output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_FUNCTION_NAME string = hosting == 'containerapp' ? 'ca-${token}' : 'func-${token}'
output AZURE_STORAGE_NAME string = storage.outputs.name
output AZURE_SYSTEM_TOPIC_NAME string = storage.outputs.systemTopicName
output AZURE_CONTAINER_REGISTRY_ENDPOINT string = usesImage ? registry!.outputs.loginServer : ''
output AZURE_KEY_VAULT_URI string = hosting == 'containerapp' ? vault!.outputs.uri : ''
output SCORE_HOSTING string = hosting

@description('Which service of azure.yaml azd deploys.')
output SCORE_DEPLOY_ZIP bool = hosting == 'zip'
output SCORE_DEPLOY_IMAGE bool = hosting == 'container'
output SCORE_DEPLOY_CONTAINER_APP bool = hosting == 'containerapp'
output REDIS_URL string = 'rediss://${redis.outputs.host}:10000'
