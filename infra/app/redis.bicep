@description('Azure Managed Redis, open to identities only.')
param name string
param location string
param tags object
param sku string
param clusteringPolicy string
param highAvailability bool

@description('False: only a private endpoint reaches the cache.')
param public bool

@description('Object ids of those who may use the cache.')
param principalIds array

resource cluster 'Microsoft.Cache/redisEnterprise@2025-07-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
  }
  properties: {
    highAvailability: highAvailability ? 'Enabled' : 'Disabled'
    minimumTlsVersion: '1.2'
    publicNetworkAccess: public ? 'Enabled' : 'Disabled'
  }
}

// A full cache drops the least recently used results; each of them can be computed again.
resource database 'Microsoft.Cache/redisEnterprise/databases@2025-07-01' = {
  parent: cluster
  name: 'default'
  properties: {
    clientProtocol: 'Encrypted'
    port: 10000
    clusteringPolicy: clusteringPolicy
    evictionPolicy: 'AllKeysLRU'
    accessKeysAuthentication: 'Disabled'
  }
}

// One at a time: the service refuses a change to a database while another is under way.
@batchSize(1)
resource access 'Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments@2025-07-01' = [
  for (id, i) in principalIds: {
    parent: database
    name: 'access${i}'
    properties: {
      accessPolicyName: 'default'
      user: {
        objectId: id
      }
    }
  }
]

output id string = cluster.id
output host string = cluster.properties.hostName
