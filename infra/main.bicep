// Everything the app needs, in a resource group of its own. No key or password exists that could leak: the app's one
// identity opens storage, Service Bus, Redis, the registry and Application Insights.
targetScope = 'subscription'

@minLength(1)
@maxLength(64)
@description('Name of the azd environment; names of the resources follow from it.')
param environmentName string

@minLength(1)
@metadata({ azd: { type: 'location' } })
@description('Region of everything. For hosting "zip" it must have the Flex Consumption plan.')
param location string

@allowed(['zip', 'container'])
@description('zip: Flex Consumption, which scales to zero. container: an image from a registry on a dedicated or Premium plan.')
param hosting string = 'zip'

@allowed([512, 2048, 4096])
@description('Hosting "zip": memory of one instance in MB.')
param instanceMemoryMB int = 2048

@minValue(40)
@maxValue(1000)
@description('Hosting "zip": the most instances there may be.')
param maximumInstanceCount int = 100

@allowed(['B1', 'B2', 'B3', 'P0v3', 'P1v3', 'EP1', 'EP2', 'EP3'])
@description('Hosting "container": size of the plan.')
param planSku string = 'B1'

@description('Hosting "container": the image, with its registry and digest. Empty: the bare Functions image, until one is deployed.')
param image string = ''

@description('Size of the Azure Managed Redis cache.')
param redisSku string = 'Balanced_B0'

@allowed(['OSSCluster', 'EnterpriseCluster', 'NoCluster'])
@description('How clients see the shards. Changing it later makes a new, empty database.')
param redisClusteringPolicy string = 'EnterpriseCluster'

@description('A replica of the cache, at double the price. Without one, maintenance may empty the cache.')
param redisHighAvailability bool = false

@description('Object id of a person who may read and write data as well; azd gives yours. Empty: nobody.')
param principalId string = ''

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = { 'azd-env-name': environmentName }
var queues = {
  requests: 'score'
  results: 'score-results'
  rejected: 'score-rejected'
}

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

module storage 'app/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    name: 'st${token}'
    location: location
    tags: tags
  }
}

module messaging 'app/messaging.bicep' = {
  name: 'messaging'
  scope: group
  params: {
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
    name: 'redis-${token}'
    location: location
    tags: tags
    sku: redisSku
    clusteringPolicy: redisClusteringPolicy
    highAvailability: redisHighAvailability
    principalIds: empty(principalId) ? [identity.outputs.principalId] : [identity.outputs.principalId, principalId]
  }
}

module registry 'app/registry.bicep' = if (hosting == 'container') {
  name: 'registry'
  scope: group
  params: {
    name: 'cr${token}'
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
    storageName: storage.outputs.name
    serviceBusName: messaging.outputs.name
    insightsName: monitoring.outputs.insightsName
    registryName: hosting == 'container' ? registry!.outputs.name : ''
  }
}

module developerRoles 'app/roles.bicep' = if (!empty(principalId)) {
  name: 'roles-developer'
  scope: group
  params: {
    principalId: principalId
    principalType: 'User'
    storageName: storage.outputs.name
    serviceBusName: messaging.outputs.name
    insightsName: monitoring.outputs.insightsName
  }
}

module settings 'app/settings.bicep' = {
  name: 'settings'
  scope: group
  params: {
    clientId: identity.outputs.clientId
    storageName: storage.outputs.name
    serviceBusHost: messaging.outputs.host
    queues: queues
    redisHost: redis.outputs.host
    insightsConnectionString: monitoring.outputs.connectionString
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
    settings: settings.outputs.settings
  }
  dependsOn: [appRoles]
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
    settings: settings.outputs.settings
  }
  dependsOn: [appRoles]
}

output AZURE_LOCATION string = location
output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_FUNCTION_NAME string = 'func-${token}'
output AZURE_STORAGE_NAME string = storage.outputs.name
output AZURE_SYSTEM_TOPIC_NAME string = storage.outputs.systemTopicName
output AZURE_CONTAINER_REGISTRY_ENDPOINT string = hosting == 'container' ? registry!.outputs.loginServer : ''
output SCORE_HOSTING string = hosting
output REDIS_URL string = 'rediss://${redis.outputs.host}:10000'
